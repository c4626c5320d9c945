export interface Box { aspectRatio: number; top: number; left: number; width: number; height: number; forcedAspectRatio?: boolean }
export interface Layout { containerHeight: number; widowCount: number; boxes: Box[] }
export default function justifiedLayout(ratios: number[], options: Record<string, unknown>): Layout;
